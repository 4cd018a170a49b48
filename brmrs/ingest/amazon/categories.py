"""The categories of the public data sets, as their files are named."""

_OF_2014 = """
Amazon_Instant_Video Apps_for_Android Automotive Baby Beauty Books CDs_and_Vinyl
Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music Electronics
Grocery_and_Gourmet_Food Health_and_Personal_Care Home_and_Kitchen Kindle_Store Movies_and_TV
Musical_Instruments Office_Products Patio_Lawn_and_Garden Pet_Supplies Sports_and_Outdoors
Tools_and_Home_Improvement Toys_and_Games Video_Games
"""
_OF_2018 = """
AMAZON_FASHION All_Beauty Appliances Arts_Crafts_and_Sewing Automotive Books CDs_and_Vinyl
Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music Electronics Gift_Cards
Grocery_and_Gourmet_Food Home_and_Kitchen Industrial_and_Scientific Kindle_Store Luxury_Beauty
Magazine_Subscriptions Movies_and_TV Musical_Instruments Office_Products Patio_Lawn_and_Garden
Pet_Supplies Prime_Pantry Software Sports_and_Outdoors Tools_and_Home_Improvement Toys_and_Games
Video_Games
"""
_OF_2023 = """
All_Beauty Amazon_Fashion Appliances Arts_Crafts_and_Sewing Automotive Baby_Products
Beauty_and_Personal_Care Books CDs_and_Vinyl Cell_Phones_and_Accessories
Clothing_Shoes_and_Jewelry Digital_Music Electronics Gift_Cards Grocery_and_Gourmet_Food
Handmade_Products Health_and_Household Health_and_Personal_Care Home_and_Kitchen
Industrial_and_Scientific Kindle_Store Magazine_Subscriptions Movies_and_TV Musical_Instruments
Office_Products Patio_Lawn_and_Garden Pet_Supplies Software Sports_and_Outdoors
Subscription_Boxes Tools_and_Home_Improvement Toys_and_Games Unknown Video_Games
"""

CATEGORIES = {
    "2014": tuple(_OF_2014.split()),
    "2018": tuple(_OF_2018.split()),
    "2023": tuple(_OF_2023.split()),
}
